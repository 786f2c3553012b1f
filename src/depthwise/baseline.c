#include "baseline.h"
#include "isa.inc.h"

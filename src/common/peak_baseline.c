#include "baseline.h"
#include "peak.inc.h"

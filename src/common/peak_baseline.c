#define ISA baseline
#define VBYTES 16
#include "runtime.h"
#include "peak.inc.h"

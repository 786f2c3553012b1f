#include "avx512.h"
#ifdef ISA
#include "peak.inc.h"
#endif

#include "avx2.h"
#ifdef ISA
#include "peak.inc.h"
#endif

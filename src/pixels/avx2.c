#include "avx2.h"
#ifdef ISA
#include "isa.inc.h"
#endif

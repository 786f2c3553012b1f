#include "avx512.h"
#ifdef ISA
#include "isa.inc.h"
#endif

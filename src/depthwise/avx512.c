#include "avx512.h"
#ifdef ISA
#pragma GCC target("prfchw")
#include "isa.inc.h"
#endif

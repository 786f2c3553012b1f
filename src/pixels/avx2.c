#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c")
#define ISA avx2
#define VBYTES 32
#define ACCUMULATORS 12
#define IMAGE_WIDE 1
#define SQUARE 3
#define MOST 3
#include "isa.inc.h"
#endif

#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#define ISA avx512
#define VBYTES 64
#define ACCUMULATORS 24
#define IMAGE_WIDE 2
#define SQUARE 5
#define MOST 4
#include "isa.inc.h"
#endif

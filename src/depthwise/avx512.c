#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prfchw,prefer-vector-width=512")
#define ISA avx512
#define VBYTES 64
#define ROWS_1 14
#define ROWS_2 14
#define SLIDE_REGISTERS 32
#include "isa.inc.h"
#endif

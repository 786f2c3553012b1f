#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#define ISA avx512
#define VBYTES 64
#define ROWS_1 6
#define ROWS_2 3
#define ROWS_3 2
#define ROWS_4 1
#define MOST 4
#include "isa.inc.h"
#endif

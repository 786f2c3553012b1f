#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c")
#define ISA avx2
#define VBYTES 32
#define ROWS_1 4
#define ROWS_2 2
#define ROWS_3 1
#define ROWS_4 1
#define MOST 3
#include "isa.inc.h"
#endif

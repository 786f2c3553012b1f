#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c")
#define ISA avx2
#define VBYTES 32
#define ROWS_1 12
#define ROWS_2 6
#define SLIDE_REGISTERS 16
#include "isa.inc.h"
#endif

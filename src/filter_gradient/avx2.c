#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c")
#define ISA avx2
#define VBYTES 32
#define ROWS_1 UP_TO_12
#define ROWS_2 UP_TO_6
#include "isa.inc.h"
#endif

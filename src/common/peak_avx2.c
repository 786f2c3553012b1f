#ifdef __x86_64__
#pragma GCC target("avx2,fma")
#define ISA avx2
#define VBYTES 32
#include "runtime.h"
#include "peak.inc.h"
#endif

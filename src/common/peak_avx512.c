#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#define ISA avx512
#define VBYTES 64
#include "runtime.h"
#include "peak.inc.h"
#endif

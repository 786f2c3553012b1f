/* AVX2 with FMA. */
#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c")
#define ISA avx2
#define VBYTES 32
#define REGISTERS 16
#endif

/* AVX-512. */
#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512,tune=icelake-server")
#define ISA avx512
#define VBYTES 64
#define REGISTERS 32
#endif

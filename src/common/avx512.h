/* AVX-512. Its code is laid out for Intel's cores: for the others, GCC keeps addresses in vector registers where it has
 * too few, and on a Zen 4 each move from one takes an FMA's turn (3 % of a 1x1 layer). */
#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512,tune=icelake-server")
#define ISA avx512
#define VBYTES 64
#define REGISTERS 32
#endif

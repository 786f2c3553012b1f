/* Any CPU the compiler targets by default (x86-64: SSE2). */
#define ISA baseline
#define VBYTES 16
#define REGISTERS 16

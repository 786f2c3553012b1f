/* Any CPU the compiler targets by default (x86-64: SSE2), in vectors of 16 bytes. */
#define ISA baseline
#define VBYTES 16
#define ROWS_1 12
#define ROWS_2 6
#define SLIDE_REGISTERS 16
#include "isa.inc.h"

#define ROW(isa, detected) conv_kernels_##isa,
const conv_kernels *conv_kernels_of(int isa)
{
    const conv_kernels *const tables[] = {ISA_LIST(ROW)};
    return tables[isa];
}
#undef ROW
#define ROW(isa, detected) depthwise_kernels_##isa,
const depthwise_kernels *depthwise_kernels_of(int isa)
{
    const depthwise_kernels *const tables[] = {ISA_LIST(ROW)};
    return tables[isa];
}

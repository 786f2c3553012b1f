/* Any CPU the compiler targets by default (x86-64: SSE2), in vectors of 16 bytes. */
#define ISA baseline
#define VBYTES 16
#define ROWS_1 12
#define ROWS_2 6
#include "isa.inc.h"

#define CONV(isa, detected) conv_kernels_##isa,
#define ROW(isa, detected) &winograd_kernels_##isa,
const conv_kernels *conv_kernels_of(int isa)
{
    const conv_kernels *const tables[] = {ISA_LIST(CONV)};
    return tables[isa];
}

const winograd_kernels *winograd_kernels_of(int isa)
{
    const winograd_kernels *const tables[] = {ISA_LIST(ROW)};
    return tables[isa];
}

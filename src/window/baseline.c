/* Any CPU the compiler targets by default (x86-64: SSE2), in vectors of 16 bytes. */
#define ISA baseline
#define VBYTES 16
#include "isa.inc.h"

#define ROW(isa, detected) window_kernels_##isa,
const window_kernels *window_kernels_of(int isa)
{
    const window_kernels *const tables[] = {ISA_LIST(ROW)};
    return tables[isa];
}

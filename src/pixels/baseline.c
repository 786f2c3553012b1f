/* Any CPU the compiler targets by default (x86-64: SSE2), in vectors of 16 bytes. */
#define ISA baseline
#define VBYTES 16
#define ACCUMULATORS 12
#define IMAGE_WIDE 1
#define SQUARE 3
#define MOST 3
#include "isa.inc.h"

#define ROW(isa, detected) pixel_kernels_##isa,
const pixel_kernels *pixel_kernels_of(int isa)
{
    const pixel_kernels *const tables[] = {ISA_LIST(ROW)};
    return tables[isa];
}

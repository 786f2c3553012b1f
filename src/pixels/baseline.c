/* Any CPU the compiler targets by default (x86-64: SSE2), in vectors of 16 bytes. */
#define ISA baseline
#define VBYTES 16
#define ROWS_1 4
#define ROWS_2 2
#define ROWS_3 1
#define ROWS_4 1
#define MOST 3
#include "isa.inc.h"

#define ROW(isa, detected) pixel_kernels_##isa,
const pixel_kernels *pixel_kernels_of(int isa)
{
    const pixel_kernels *const tables[] = {ISA_LIST(ROW)};
    return tables[isa];
}

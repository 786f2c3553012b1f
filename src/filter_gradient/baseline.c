/* Any CPU the compiler targets by default (x86-64: SSE2), in vectors of 16 bytes. */
#define ISA baseline
#define VBYTES 16
#define ROWS_1 UP_TO_12
#define ROWS_2 UP_TO_6
#include "isa.inc.h"

#define ROW(isa, detected) gradient_kernels_##isa,
const gradient_kernels *gradient_kernels_of(int isa)
{
    const gradient_kernels *const tables[] = {ISA_LIST(ROW)};
    return tables[isa];
}

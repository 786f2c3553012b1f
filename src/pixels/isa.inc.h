/* One ISA's table: kernels.inc.h once for every compute type. The ISA file defines ISA, VBYTES, the rows of a tile of
 * 1 to 4 filters, ROWS_1 to ROWS_4, and the most vectors in a row, MOST. */
#include "kernels.h"

#define KERNELS_H "kernels.inc.h"
#include "types.inc.h"

#undef T
#undef TN
#define T float
#define TN f32
PLANES(float)
PLANES(half)
PLANES(bfloat)
#undef T
#undef TN
#define T double
#define TN f64
PLANES(double)
#undef T
#undef TN
#define T int32_t
#define TN i32
PLANES(int32_t)

#define WIDTHS_(filters, tn, most)                                                                                     \
    {JOIN(tile_##filters##x1, tn, ISA), JOIN(tile_##filters##x2, tn, ISA), JOIN(tile_##filters##x##most, tn, ISA)}
#define WIDTHS__(filters, tn, most) WIDTHS_(filters, tn, most)
#define WIDTHS(filters, tn) WIDTHS__(filters, tn, MOST)
#define KERNELS(tn, type)                                                                                              \
    .lanes = VBYTES / sizeof(type), .rows = {0, ROWS_1, ROWS_2, ROWS_3, ROWS_4}, .wide = {1, 2, MOST},                 \
    .tile = {{0}, WIDTHS(1, tn), WIDTHS(2, tn), WIDTHS(3, tn), WIDTHS(4, tn)},                                         \
    .interleave = JOIN(interleave, tn, ISA), .fill = JOIN(fill, tn, ISA)
#define OF(f, tn, S) JOIN(f##_##S, tn, ISA)
#define TABLE_(isa) pixel_kernels_##isa
#define TABLE(isa) TABLE_(isa)
#define STORED(tn, D, S) .planes[D] = OF(planes, tn, S), .pack[D] = OF(pack, tn, S), .finish[D] = OF(finish, tn, S)

const pixel_kernels TABLE(ISA)[COMPUTE_TYPES] = {
    [F32] = {KERNELS(f32, float), STORED(f32, F32, float), STORED(f32, F16, half), STORED(f32, BF16, bfloat)},
    [F64] = {KERNELS(f64, double), STORED(f64, F64, double)},
    [I32] = {KERNELS(i32, int32_t), STORED(i32, I32, int32_t)},
};

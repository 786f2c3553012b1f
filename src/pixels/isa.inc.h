/* One ISA's table: kernels.inc.h once for every compute type. */
#include "kernels.h"

/* The registers of a tile that sum, the most vectors that it is wide, and an image filter's; the rows of a gradient's.
 */
#define ACCUMULATORS (REGISTERS == 32 ? 24 : 12)
#define MOST (REGISTERS == 32 ? 4 : 3)
#define IMAGE_WIDE (REGISTERS == 32 ? 2 : 1)
#define SQUARE (REGISTERS == 32 ? 5 : 3)

#define BY_3(X, rows) X(rows, 1) X(rows, 2) X(rows, 3)
#define BY_5(X, rows) BY_3(X, rows) X(rows, 4) X(rows, 5)
#if REGISTERS == 32
#define EACH_PRODUCT(X) BY_5(X, 1) BY_5(X, 2) BY_5(X, 3) BY_5(X, 4) BY_5(X, 5)
#else
#define EACH_PRODUCT(X) BY_3(X, 1) BY_3(X, 2) BY_3(X, 3)
#endif

#define STORAGE(S) PACK(S) GATHER(S) FINISH(S) PLANES(S)
#define KERNELS_H "kernels.inc.h"
#include "types.inc.h"

#define OF_WIDTH(filters, tn)                                                                                          \
    {JOIN(tile_##filters##x1, tn, ISA), JOIN(tile_##filters##x2, tn, ISA), JOIN(tile_##filters##xmost, tn, ISA)}
#define ROWS_TO(filters) {ROWS_OF(filters, 1), ROWS_OF(filters, 2), ROWS_OF(filters, MOST)}
#define PRODUCT_f32(rows, columns) [rows][columns] = JOIN(product_##rows##x##columns, f32, ISA),
#define PRODUCT_f64(rows, columns) [rows][columns] = JOIN(product_##rows##x##columns, f64, ISA),
#define PRODUCT_i32(rows, columns) [rows][columns] = JOIN(product_##rows##x##columns, i32, ISA),
#define KERNELS(tn, type)                                                                                              \
    .lanes = VBYTES / sizeof(type), .wide = {1, 2, MOST},                                                              \
    .rows = {{0}, ROWS_TO(1), ROWS_TO(2), ROWS_TO(3), ROWS_TO(4)},                                                     \
    .tile = {{0}, OF_WIDTH(1, tn), OF_WIDTH(2, tn), OF_WIDTH(3, tn), OF_WIDTH(4, tn)}, .image_wide = IMAGE_WIDE,       \
    .image = {[3] = JOIN(image_3, tn, ISA), [5] = JOIN(image_5, tn, ISA)}, .interleave = JOIN(interleave, tn, ISA),    \
    .products = SQUARE, .product = {EACH_PRODUCT(PRODUCT_##tn)}, .totals = JOIN(totals, tn, ISA),                      \
    .fill = JOIN(fill, tn, ISA)
#define OF(f, tn, S) JOIN(f##_##S, tn, ISA)
#define STORED(tn, D, S) .planes[D] = OF(planes, tn, S), .pack[D] = OF(pack, tn, S), .finish[D] = OF(finish, tn, S)

TABLE(pixel_kernels) = {
    [F32] = {KERNELS(f32, float), STORED(f32, F32, float), STORED(f32, F16, half), STORED(f32, BF16, bfloat)},
    [F64] = {KERNELS(f64, double), STORED(f64, F64, double)},
    [I32] = {KERNELS(i32, int32_t), STORED(i32, I32, int32_t)},
};

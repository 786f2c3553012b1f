/* One ISA's table: kernels.inc.h once for every compute type. */
#include "kernels.h"

/* The pixels of the largest tiles, by one vector and by two. */
#define ROWS_1 (REGISTERS == 32 ? 14 : 12)
#define ROWS_2 (REGISTERS == 32 ? 14 : 6)

#define KERNELS_H "kernels.inc.h"
#include "types.inc.h"

#define WIDTH(kind, wide, eight, tn)                                                                                   \
    {[1] = JOIN(kind##_1x##wide, tn, ISA),                                                                             \
     [2] = JOIN(kind##_2x##wide, tn, ISA),                                                                             \
     [3 ... 4] = JOIN(kind##_4x##wide, tn, ISA),                                                                       \
     [5 ... 8] = JOIN(kind##_##eight##x##wide, tn, ISA),                                                               \
     [9 ... TILE_ROWS] = JOIN(kind##_fullx##wide, tn, ISA)}
#if ROWS_2 > 8
#define TILES_OF(kind, tn) {{0}, WIDTH(kind, 1, 8, tn), WIDTH(kind, 2, 8, tn)}
#else
#define TILES_OF(kind, tn) {{0}, WIDTH(kind, 1, 8, tn), WIDTH(kind, 2, full, tn)}
#endif
#define KERNELS(tn, type)                                                                                              \
    .lanes = VBYTES / sizeof(type), .rows = {0, ROWS_1, ROWS_2}, .gemm = TILES_OF(gemm, tn),                           \
    .broad = {[2] = {0, JOIN(gemm_1x4, tn, ISA), JOIN(gemm_2x4, tn, ISA)}, [4] = {0, JOIN(gemm_1x8, tn, ISA)}},        \
    .depthwise = TILES_OF(depthwise, tn), .along = TILES_OF(along, tn),                                                \
    .narrow = {0, JOIN(narrow_1, tn, ISA), JOIN(narrow_2, tn, ISA), JOIN(narrow_3, tn, ISA), JOIN(narrow_4, tn, ISA)}, \
    .add = JOIN(add, tn, ISA), .fill = JOIN(fill, tn, ISA)
#define OF(f, tn, S) JOIN(f##_##S, tn, ISA)
#define MOVES(dtype, tn, S)                                                                                            \
    .gather[dtype] = OF(gather, tn, S), .pack[dtype] = OF(pack, tn, S), .finish[dtype] = OF(finish, tn, S)

TABLE(conv_kernels) = {
    [F32] = {KERNELS(f32, float), MOVES(F32, f32, float), MOVES(F16, f32, half), MOVES(BF16, f32, bfloat)},
    [F64] = {KERNELS(f64, double), MOVES(F64, f64, double)},
    [I32] = {KERNELS(i32, int32_t), MOVES(I32, i32, int32_t)},
};

/* One ISA's table: kernels.inc.h once for every compute type. */
#include "kernels.h"

#define LEAST_OF(type) (__builtin_types_compatible_p(type, int32_t) ? INT32_MIN : -INFINITY)
#define STORAGE(S) GATHER(S) SCATTER(S)
#define KERNELS_H "kernels.inc.h"
#include "types.inc.h"

#define OF(f, tn) JOIN(f, tn, ISA)
#define KERNELS(tn, type)                                                                                              \
    .lanes = VBYTES / sizeof(type), .least = LEAST_OF(type),                                                           \
    .window = {OF(windows_MAXIMUM, tn), OF(windows_TOTAL, tn), OF(windows_FIRST, tn), OF(windows_SUMMIT, tn)},         \
    .rows = {OF(rows_MAXIMUM, tn), OF(rows_TOTAL, tn)}, .route = {OF(route, tn), OF(route_weighted, tn)},              \
    .route_pairs = OF(route_pairs, tn), .split = OF(split, tn), .merge = OF(merge, tn), .fill = OF(fill, tn),          \
    .tally = OF(tally, tn), .positions = OF(positions, tn), .lrn = OF(lrn, tn)
#define STORED(tn, D, S) .gather[D] = OF(gather_##S, tn), .scatter[D] = OF(scatter_##S, tn)

TABLE(window_kernels) = {
    [F32] = {KERNELS(f32, float), STORED(f32, F32, float), STORED(f32, F16, half), STORED(f32, BF16, bfloat)},
    [F64] = {KERNELS(f64, double), STORED(f64, F64, double)},
    [I32] = {KERNELS(i32, int32_t), STORED(i32, I32, int32_t)},
};

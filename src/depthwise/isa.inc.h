/* One ISA's table: kernels.inc.h once for every compute type. */
#include "kernels.h"

#define STORAGE(S)
#define KERNELS_H "kernels.inc.h"
#include "types.inc.h"

#define PIXELS(windows, tn)                                                                                            \
    {[1] = JOIN(windows##_1, tn, ISA),                                                                                 \
     [2] = JOIN(windows##_2, tn, ISA),                                                                                 \
     [4] = JOIN(windows##_4, tn, ISA),                                                                                 \
     [7] = JOIN(windows##_7, tn, ISA)}
#define TWO(windows, one, other, tn) {PIXELS(windows##_##one, tn), PIXELS(windows##_##other, tn)}
#define ANY(tn) .any = PIXELS(slide_0_0, tn), .arrange = JOIN(arrange, tn, ISA)
#define PLANE_OF(K, tn) [K] = {0, JOIN(plane_##K##_1, tn, ISA), JOIN(plane_##K##_2, tn, ISA)}
#define UP_OF(K, tn) [K] = {JOIN(plane_up_##K##_0, tn, ISA), JOIN(plane_up_##K##_1, tn, ISA)}
#define PLANES(tn)                                                                                                     \
    .plane = {PLANE_OF(3, tn), PLANE_OF(5, tn)}, .plane_up = {UP_OF(2, tn), UP_OF(3, tn), UP_OF(4, tn), UP_OF(5, tn)}
#define WINDOWS(tn)                                                                                                    \
    .slide = {TWO(slide_3, 1, 2, tn), TWO(slide_5, 1, 2, tn), TWO(slide_7, 1, 2, tn)},                                 \
    .up = {[2] = TWO(up_2, 0, 1, tn), TWO(up_3, 0, 1, tn), TWO(up_4, 0, 1, tn), TWO(up_5, 0, 1, tn)}, PLANES(tn),      \
    ANY(tn)

TABLE(depthwise_kernels) = {[F32] = {WINDOWS(f32)}, [F64] = {WINDOWS(f64)}, [I32] = {ANY(i32)}};

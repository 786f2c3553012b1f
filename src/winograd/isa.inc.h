/* One ISA's tables: the transforms here, and the tiles of the product from ../gemm. */
#include "kernels.h"

#define KERNELS_H "../winograd/kernels.inc.h"
#include "../gemm/isa.inc.h"

#define WINOGRAD(tn)                                                                                                   \
    {                                                                                                                  \
        .input = {PAIR(input_4, tn), PAIR(input_5, tn), PAIR(input_6, tn)},                                            \
        .output = {{[2] = PAIR(output_4_2, tn), [3] = PAIR(output_4_3, tn)},                                           \
                   {[3] = PAIR(output_5_3, tn), [4] = PAIR(output_5_4, tn)},                                           \
                   {[2] = PAIR(output_6_2, tn),                                                                        \
                    [3] = PAIR(output_6_3, tn),                                                                        \
                    [4] = PAIR(output_6_4, tn),                                                                        \
                    [5] = PAIR(output_6_5, tn)}},                                                                      \
        .filter = {{[2] = PAIR(filter_4_3, tn), [3] = PAIR(filter_4_2, tn)},                                           \
                   {[3] = PAIR(filter_5_3, tn), [4] = PAIR(filter_5_2, tn)},                                           \
                   {[2] = PAIR(filter_6_5, tn),                                                                        \
                    [3] = PAIR(filter_6_4, tn),                                                                        \
                    [4] = PAIR(filter_6_3, tn),                                                                        \
                    [5] = PAIR(filter_6_2, tn)}},                                                                      \
    }
#define WINOGRAD_TABLE_(isa) winograd_kernels_##isa
#define WINOGRAD_TABLE(isa) WINOGRAD_TABLE_(isa)
const winograd_kernels WINOGRAD_TABLE(ISA)[COMPUTE_TYPES] = {[F32] = WINOGRAD(f32), [F64] = WINOGRAD(f64)};

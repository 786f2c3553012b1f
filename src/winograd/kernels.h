/* The kernel table of the Winograd driver: the transforms, and the tiles of the product from ../gemm. */
#pragma once
#include "../gemm/kernels.h"
#include "transforms.h"

#define DECLARE(isa, detected)                                                                                         \
    extern const winograd_kernels winograd_kernels_##isa;                                                              \
    extern const conv_kernels conv_kernels_##isa[COMPUTE_TYPES];
ISA_LIST(DECLARE)
#undef DECLARE
const winograd_kernels *winograd_kernels_of(int isa);

/* The kernels of the Winograd driver for one compute type T on one ISA. */
#include "../gemm/kernels.inc.h"
#include "transforms.inc.h"

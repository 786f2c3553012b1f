/* The kernel table of the Winograd driver. */
#pragma once
#include "isa.h"
#include "transforms.h"

KERNEL_TABLES(winograd_kernels)

/* A spatial axis of a job: _geometry.JobAxis. */
#pragma once
#include <stddef.h>

typedef struct { ptrdiff_t size, taps, out, stride, dilation, lo, tap_start, tap_step, out_start, out_step; } JobAxis;

/* Winograd transforms in float32: what they take, and their table. A tile of m x m outputs of an r x r filter needs
 * ALPHA squared inputs, where ALPHA is m + r less one; transforms are by axis, so that 1-D filters use the same code
 * with one axis of length 1. The filter gradient is the same product with other roles: its "filter" is a tile of r x r
 * gradients, its "outputs" are m x m taps. */
#pragma once
#include <stddef.h>

#define ALPHA_MAX 6
#define M_MAX 5

/* V[xi] = (B^T d B)[xi] of one tile, xi = row*columns + column of the transformed tile. */
typedef struct {
    const char *const *pixels; /* IN  [rows*columns] of `channels` elements each */
    ptrdiff_t channels;
    char *v;         /* OUT channels of V[0], rounded up to vectors */
    ptrdiff_t xi;    /* from V[xi] to V[xi + 1], in bytes */
    ptrdiff_t ahead; /* bytes from the pixels to those that are fetched meanwhile */
} input_args;
typedef void (*input_fn)(const input_args *);

/* Y = A^T M A of one tile, one or two vectors of output channels: + bias, clamped, stored. Returns nonzero iff a value
 * that it made is not finite. */
typedef struct {
    const char *m; /* IN  a row of M[0] */
    ptrdiff_t xi;  /* from M[xi] to M[xi + 1], in bytes */
    int wide;
    const char *bias;
    int clamp;
    double low, high;
    char *const *out;   /* OUT [m*m] */
    char *const *added; /* IN  [m*m] what is added to them; NULL for zeros */
    ptrdiff_t ahead;    /* bytes from the outputs to those that are fetched meanwhile */
} output_args;
typedef int (*output_fn)(const output_args *);

/* U[xi] = (G g G^T)[xi] of one input channel and a block of output channels. */
typedef struct {
    const char *w; /* IN  [taps_h][taps_w] of `columns` elements, steps in bytes */
    ptrdiff_t step_h, step_w;
    ptrdiff_t ahead;    /* bytes from w to what is fetched into L2 meanwhile */
    int taps_h, taps_w; /* at most the transform's; the rest are zeros */
    ptrdiff_t columns, width;
    char *u; /* OUT width elements of U[0] */
    ptrdiff_t xi;
} filter_args;
typedef int (*filter_fn)(const filter_args *); /* nonzero iff a value was not finite */

typedef struct {
    input_fn input[3][2];              /* [alpha - 4][one axis or two] */
    output_fn output[3][M_MAX + 1][2]; /* [alpha - 4][m][one axis or two] */
    filter_fn filter[3][M_MAX + 1][2]; /* [alpha - 4][m][one axis or two] */
} winograd_kernels;

/* The table of an ISA. */
#define PAIR(f) {JOIN(f##_1, f32, ISA), JOIN(f##_2, f32, ISA)}
#define TRANSFORMS                                                                                                     \
    {                                                                                                                  \
        .input = {PAIR(input_4), PAIR(input_5), PAIR(input_6)},                                                        \
        .output = {{[2] = PAIR(output_4_2), [3] = PAIR(output_4_3)},                                                   \
                   {[3] = PAIR(output_5_3), [4] = PAIR(output_5_4)},                                                   \
                   {[2] = PAIR(output_6_2), [3] = PAIR(output_6_3), [4] = PAIR(output_6_4), [5] = PAIR(output_6_5)}},  \
        .filter = {{[2] = PAIR(filter_4_3), [3] = PAIR(filter_4_2)},                                                   \
                   {[3] = PAIR(filter_5_3), [4] = PAIR(filter_5_2)},                                                   \
                   {[2] = PAIR(filter_6_5), [3] = PAIR(filter_6_4), [4] = PAIR(filter_6_3), [5] = PAIR(filter_6_2)}},  \
    }

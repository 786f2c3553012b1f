/* A bench for the kernels of src/winograd. */
#include "bench.h"

enum { LANES = 16, CHANNELS = 3 * LANES, XIS = ALPHA_MAX * ALPHA_MAX };
typedef double matrix[ALPHA_MAX][ALPHA_MAX];

/* A^T, B^T and G of Toom-Cook, by the points that transforms.inc.h names. */
static void transforms(int alpha, int m, matrix A, matrix B, matrix G)
{
    const double points[3][5] = {{0, 1, -1}, {0.5, -0.5, 1.25, -1.25}, {0, 0.75, -0.75, 1.5, -1.5}};
    const double *point = points[alpha - 4];
    const int last = alpha - 1, r = alpha - m + 1;
    for (int p = 0; p < alpha; p++) {
        /* Row p of B^T: the product of (x - q) over the other points; for infinity, over all. */
        double distances = p == 0 && alpha == 4 ? -1 : 1; /* for 4 this sign is turned in both */
        double *b = B[p];
        memset(b, 0, sizeof *B);
        b[0] = distances;
        for (int q = 0; q < last; q++)
            if (q != p) {
                for (int i = last; i >= 0; i--)
                    b[i] = (i ? b[i - 1] : 0) - point[q] * b[i];
                distances *= p < last ? point[p] - point[q] : 1;
            }
        for (int k = 0; k < m; k++)
            A[k][p] = p < last ? pow(point[p], k) : k == m - 1;
        for (int t = 0; t < r; t++)
            G[p][t] = p < last ? pow(point[p], t) / distances : t == r - 1;
    }
    /* What they are for: output k is the sum over the taps t of d[k + t] g[t]. */
    for (int k = 0; k < m; k++)
        for (int t = 0; t < r; t++)
            for (int i = 0; i < alpha; i++) {
                double sum = 0;
                for (int p = 0; p < alpha; p++)
                    sum += A[k][p] * G[p][t] * B[p][i];
                expect(fabs(sum - (i == k + t)) < 1e-12, "scalar", "transforms", "f64", "value", sum, i == k + t);
            }
}

/* out = M in M^T with two axes, in M^T with one, and the same of the magnitudes. */
static void apply(double out[2][XIS], const matrix M, int to, int from, int axes, const double *in)
{
    memset(out, 0, 2 * sizeof *out);
    for (int i = 0; i < (axes == 2 ? to : 1); i++)
        for (int j = 0; j < to; j++)
            for (int a = 0; a < (axes == 2 ? from : 1); a++)
                for (int b = 0; b < from; b++) {
                    const double term = (axes == 2 ? M[i][a] : 1) * M[j][b] * in[a * from + b];
                    out[0][i * to + j] += term;
                    out[1][i * to + j] += fabs(term);
                }
}

static void near(const char *isa, const char *what, int type, double found, double right, double magnitude)
{
    expect(fabs(found - right) <= 32 * (type == F32 ? 0x1p-24 : 0x1p-53) * magnitude, isa, what, type_names[type],
           "value", found, right);
}

BUFFER block[XIS * (CHANNELS + 4) * 8 + 2 * ROOM];

/* Rows of `columns` elements, `pitch` apart, were written; nothing else was. */
static void beside(const char *isa, const char *what, int type, const char *rows, int count, int columns, int pitch)
{
    const char *last = block;
    for (int i = 0; i < count; i++) {
        expect(untouched(last, rows + i * pitch * sizes[type]), isa, what, type_names[type], "wrote before", i, count);
        last = rows + (i * pitch + columns) * sizes[type];
    }
    expect(untouched(last, block + sizeof block), isa, what, type_names[type], "wrote beside", count, columns);
}

static void check_input(const char *isa, int type, const winograd_kernels *k, int lanes, int alpha, int axes)
{
    BUFFER pixel[XIS][CHANNELS * 8];
    const int size = sizes[type], count = axes == 2 ? alpha * alpha : alpha, channels = between(1, 3 * lanes);
    const int columns = (channels + lanes - 1) / lanes * lanes, pitch = columns + between(0, 3);
    const char *pixels[XIS];
    for (int i = 0; i < count; i++) {
        fill_with(type, pixel[i], channels);
        pixels[i] = pixel[draw() % 4 ? i : 0]; /* border pixels share theirs */
    }
    char *v = canaries(block, sizeof block - 2 * ROOM);
    input_args t = {pixels, channels, v, pitch * size, between(0, 2) * pitch * size};
    k->input[alpha - 4][axes - 1](&t);
    matrix A, B, G;
    transforms(alpha, 2 + (alpha == 5), A, B, G);
    for (int c = 0; c < channels; c++) {
        double d[XIS], right[2][XIS];
        for (int i = 0; i < count; i++)
            d[i] = get(type, pixels[i] + c * size);
        apply(right, B, alpha, alpha, axes, d);
        for (int i = 0; i < count; i++)
            near(isa, "input", type, get(type, v + (i * pitch + c) * size), right[0][i], right[1][i]);
    }
    beside(isa, "input", type, v, count, columns, pitch);
}

static void check_output(const char *isa, int type, const winograd_kernels *k, int lanes, int alpha, int m, int axes)
{
    BUFFER x[XIS * (CHANNELS + 4) * 8], bias[CHANNELS * 8], more[M_MAX * M_MAX * CHANNELS * 8];
    const int size = sizes[type], count = axes == 2 ? alpha * alpha : alpha, outs = axes == 2 ? m * m : m;
    const int wide = between(1, 2), columns = wide * lanes, ldm = columns + between(0, 3);
    const int pitch = columns + between(0, 3), clamp = between(0, 1), strange = !between(0, 3);
    fill_with(type, x, count * ldm);
    fill_with(type, bias, columns);
    fill_with(type, more, outs * columns);
    if (strange)
        put(type, x + (between(0, count - 1) * ldm + between(0, columns - 1)) * size, between(0, 1) ? INFINITY : NAN);
    char *out[M_MAX * M_MAX], *added[M_MAX * M_MAX], *y = canaries(block, sizeof block - 2 * ROOM);
    for (int i = 0; i < outs; i++)
        out[i] = y + i * pitch * size, added[i] = more + i * columns * size;
    output_args t = {
        x, ldm * size, wide, bias, clamp, -3, 4, out, between(0, 1) ? added : NULL, between(0, 2) * pitch * size};
    const int told = k->output[alpha - 4][m][axes - 1](&t);
    expect(!told == !strange, isa, "output", type_names[type], "strange", told, strange);
    matrix A, B, G;
    transforms(alpha, m, A, B, G);
    for (int c = 0; c < columns; c++) {
        double d[XIS], right[2][XIS];
        int finite = 1;
        for (int i = 0; i < count; i++) {
            d[i] = get(type, x + (i * ldm + c) * size);
            finite &= isfinite(d[i]) != 0;
        }
        apply(right, A, m, alpha, axes, d);
        for (int i = 0; i < (finite ? outs : 0); i++) {
            const double b = get(type, bias + c * size), plus = t.added ? get(type, added[i] + c * size) : 0;
            const double sum = right[0][i] + b + plus;
            near(isa, "output", type, get(type, out[i] + c * size), clamp ? clamped(sum, -3, 4) : sum,
                 right[1][i] + fabs(b) + fabs(plus));
        }
    }
    beside(isa, "output", type, y, outs, columns, pitch);
}

static void check_filter(const char *isa, int type, const winograd_kernels *k, int lanes, int alpha, int m, int axes)
{
    BUFFER w[5 * 5 * (CHANNELS + 4) * 8];
    const int size = sizes[type], count = axes == 2 ? alpha * alpha : alpha, r = alpha - m + 1;
    const int taps_h = axes == 2 ? between(1, r) : 1, taps_w = between(1, r), columns = between(1, 3 * lanes);
    const int least = (columns + lanes - 1) / lanes, width = between(least, 3) * lanes, pitch = width + between(0, 3);
    const int step = columns + between(0, 3), strange = !between(0, 3);
    fill_with(type, w, r * r * step);
    if (strange)
        put(type, w + ((between(0, taps_h - 1) * r + between(0, taps_w - 1)) * step + between(0, columns - 1)) * size,
            between(0, 1) ? -INFINITY : NAN);
    char *u = canaries(block, sizeof block - 2 * ROOM);
    filter_args f = {w, r * step * size, step * size, 0, taps_h, taps_w, columns, width, u, pitch * size};
    const int told = k->filter[alpha - 4][m][axes - 1](&f);
    expect(!told == !strange, isa, "filter", type_names[type], "strange", told, strange);
    matrix A, B, G;
    transforms(alpha, m, A, B, G);
    for (int c = 0; c < width; c++) {
        double g[XIS] = {0}, right[2][XIS];
        int finite = 1;
        for (int i = 0; i < taps_h; i++)
            for (int j = 0; j < (c < columns ? taps_w : 0); j++) {
                g[i * r + j] = get(type, w + ((i * r + j) * step + c) * size);
                finite &= isfinite(g[i * r + j]) != 0;
            }
        apply(right, G, alpha, r, axes, g);
        for (int i = 0; i < (finite ? count : 0); i++)
            near(isa, "filter", type, get(type, u + (i * pitch + c) * size), right[0][i], right[1][i]);
    }
    beside(isa, "filter", type, u, count, width, pitch);
}

int main(void)
{
    for (int isa = 0; isa < ISAS; isa++)
        if (isa_detected(isa)) {
            const winograd_kernels *k = winograd_kernels_of(isa) + F32;
            const int type = F32, lanes = lanes_of(isa, type);
            int checked = 0;
            for (int round = 0; round < 40; round++)
                for (int alpha = 4; alpha <= ALPHA_MAX; alpha++)
                    for (int axes = 1; axes <= 2; axes++) {
                        check_input(isa_names[isa], type, k, lanes, alpha, axes);
                        for (int m = 2; m <= M_MAX; m++)
                            if (k->filter[alpha - 4][m][axes - 1]) {
                                check_filter(isa_names[isa], type, k, lanes, alpha, m, axes);
                                check_output(isa_names[isa], type, k, lanes, alpha, m, axes);
                                checked++;
                            }
                    }
            expect(checked == 40 * 16, isa_names[isa], "filter", type_names[type], "kernels", checked, 40 * 16);
            printf("input output filter %-4s %s\n", type_names[type], isa_names[isa]);
        }
    printf("%d wrong\n", failures);
    return failures != 0;
}

/* A bench for the kernels of src/depthwise. */
#include "bench.h"

enum { LANES = 16, CHANNELS = 3 * LANES + 4, BLOCKS = 4, ROWS = 7, SPAN = 25 };

/* Windows of K taps at stride S, or any for K = 0. What lies outside the image is NaN, and must not come through. */
static void check_slide(const char *isa, int type, const depthwise_kernels *d, int lanes, int K, int S, int pixels)
{
    BUFFER x[2 * (ROWS * 2 + 7) * SPAN * CHANNELS * 8], w[2 * 8 * 49 * CHANNELS * 8], bias[CHANNELS * 8];
    BUFFER packed[BLOCKS * 2 * 8 * 49 * LANES * 8 + 2 * ROOM], block[ROWS * 8 * CHANNELS * 8 + 2 * ROOM];
    BUFFER more[ROWS * 8 * CHANNELS * 8];
    const char *const what = K ? "slide" : "any";
    const int each = K > 3 ? 1 : 1 << between(0, 3), most = each > lanes ? each : lanes; /* groups are whole */
    const int size = sizes[type], channels = (most + between(0, 2 * lanes)) / each * each;
    const int pitch = channels + between(0, 3), planes = between(1, 2), rows = between(1, ROWS),
              taps_w = K ? K : between(1, 7);
    const int taps_h = K && between(0, 1) ? K : between(1, 7), stride_h = S && between(0, 2) ? S : between(1, 2);
    const int stride = S ? S : between(1, 2), dilation = K ? 1 : between(1, 2), clamp = between(0, 1);
    const int height = (rows - 1) * stride_h + taps_h, width = (pixels - 1) * stride + (taps_w - 1) * dilation + 1;
    const int out_pitch = channels + between(0, 3), out_row = pixels * out_pitch + between(0, 9);
    /* No window of K taps lies outside as a whole. */
    const int top = between(-2, taps_h - 1), bottom = between(height - taps_h + 1, height + 2);
    const int left = K ? between(-2, K - 1) : between(-2, width);
    const int right = K ? between(width - K + 1, width + 2) : between(left, width + 2);
#define INSIDE(i, j) ((i) >= top && (i) < bottom && (j) >= left && (j) < right)
    for (int p = 0; p < planes; p++)
        for (int i = 0; i < height; i++)
            for (int j = 0; j < width; j++) {
                char *at = x + ((p * height + i) * width + j) * pitch * size;
                fill_with(type, at, pitch);
                for (int c = 0; c < (type == I32 || INSIDE(i, j) ? 0 : pitch); c++)
                    put(type, at + c * size, NAN);
            }
    const int taps = planes * each * taps_h * taps_w, blocks = (channels + lanes - 1) / lanes;
    fill_with(type, w, taps * pitch);
    fill_with(type, bias, channels);
    fill_with(type, more, (int)(sizeof more / size));
    ptrdiff_t at[BLOCKS];
    for (int b = 0; b < blocks; b++)
        at[b] = b < blocks - 1 ? b * lanes : channels - lanes;
    char *panels = canaries(packed, sizeof packed - 2 * ROOM), *out = canaries(block, sizeof block - 2 * ROOM);
    d->arrange(panels, w, taps, pitch, at, blocks);
    for (int b = 0; b < blocks; b++)
        for (int tap = 0; tap < taps; tap++)
            expect(!memcmp(panels + (b * taps + tap) * lanes * size, w + (tap * pitch + at[b]) * size,
                           (size_t)(lanes * size)),
                   isa, "arrange", type_names[type], "block, tap", b, tap);
    expect(untouched(packed, panels) && untouched(panels + blocks * taps * lanes * size, packed + sizeof packed), isa,
           "arrange", type_names[type], "wrote beside", blocks, taps);

    slide_args s = {.x = x,
                    .plane = height * width * pitch * size,
                    .row = width * pitch * size,
                    .column = pitch * size,
                    .planes = planes,
                    .top = top,
                    .bottom = bottom,
                    .left = left,
                    .right = right,
                    .each = each,
                    .rows = rows,
                    .taps_h = taps_h,
                    .stride_h = stride_h,
                    .taps_w = taps_w,
                    .stride_w = stride,
                    .dilation_w = dilation,
                    .w = panels,
                    .w_block = taps * lanes * size,
                    .at = at,
                    .blocks = blocks,
                    .out = out,
                    .out_row = out_row * size,
                    .out_column = out_pitch * size,
                    .bias = bias,
                    .added = between(0, 1) ? more : NULL,
                    .added_row = out_row * size,
                    .added_column = out_pitch * size,
                    .clamp = clamp,
                    .low = -20,
                    .high = 30,
                    .residues = 1};
    (K ? d->slide[(K - 3) / 2][S - 1] : d->any)[pixels](&s);
    const char *last = block;
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < pixels; t++) {
            const char *pixel = out + (r * out_row + t * out_pitch) * size;
            for (int c = 0; c < channels; c++) {
                int64_t sum = (int64_t)get(type, bias + c * size);
                sum += s.added ? (int64_t)get(type, more + (pixel - out) + c * size) : 0;
                for (int p = 0; p < planes * each; p++)
                    for (int i = 0; i < taps_h; i++)
                        for (int k = 0; k < taps_w; k++) {
                            const int h = r * stride_h + i, v = t * stride + k * dilation,
                                      from = c - c % each + p % each;
                            const int pixel_at = (p / each * height + h) * width + v;
                            if (INSIDE(h, v))
                                sum += (int64_t)get(type, x + (pixel_at * pitch + from) * size) *
                                       (int64_t)get(type, w + (((p * taps_h + i) * taps_w + k) * pitch + c) * size);
                        }
                const double wrapped = type == I32 ? (int32_t)(uint32_t)sum : (double)sum;
                const double wanted = clamp ? clamped(wrapped, -20, 30) : wrapped;
                const double found = get(type, pixel + c * size);
                expect(same(found, wanted), isa, what, type_names[type], "value", found, wanted);
            }
            expect(untouched(last, pixel), isa, what, type_names[type], "wrote between", r, t);
            last = pixel + channels * size;
        }
    expect(untouched(last, block + sizeof block), isa, what, type_names[type], "wrote beside", rows, pixels);
}

/* Pairs of outputs of a row, of K taps at stride 2: each product of a column and a tap goes where it belongs. */
static void check_up(const char *isa, int type, const depthwise_kernels *d, int lanes, int K, int first, int pairs)
{
    BUFFER x[2 * ROWS * 2 * SPAN * LANES * 8], w[2 * 7 * SLIDE_UP * LANES * 8], bias[LANES * 8];
    BUFFER block[ROWS * 2 * SLIDE_PIXELS * 2 * LANES * 8 + 2 * ROOM];
    const int before = (K - 1 - first) / 2, width = pairs + before + first, size = sizes[type], half = between(0, 1);
    const int planes = between(1, 2), taps_h = between(1, 7), rows = between(1, ROWS), height = rows - 1 + taps_h;
    const int top = between(-2, taps_h - 1), bottom = between(rows, height + 2), met = before + 1 + first;
    const int left = between(-2, met - 1), right = between(pairs, width + 2), next = lanes + between(0, lanes);
    fill_with(type, bias, lanes);
    fill_with(type, w, planes * taps_h * K * lanes);
    fill_with(type, x, planes * height * width * lanes);
    for (int j = 0; j < planes * height * width; j++)
        for (int c = 0; c < lanes; c++)
            if (!INSIDE(j / width % height, j % width))
                put(type, x + (j * lanes + c) * size, NAN);
    char *out = canaries(block, sizeof block - 2 * ROOM);
    const char *end = block;
    const ptrdiff_t at = 0;
    slide_args s = {.x = x,
                    .plane = height * width * lanes * size,
                    .row = width * lanes * size,
                    .column = lanes * size,
                    .planes = planes,
                    .top = top,
                    .bottom = bottom,
                    .left = left,
                    .right = right,
                    .each = 1,
                    .rows = rows,
                    .taps_h = taps_h,
                    .stride_h = 1,
                    .w = w,
                    .at = &at,
                    .blocks = 1,
                    .out = out,
                    .out_row = 2 * pairs * next * size,
                    .out_column = next * size,
                    .bias = bias,
                    .half = half};
    d->up[K][first][pairs](&s);
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < 2 * pairs - half; t++) {
            const char *pixel = out + (r * 2 * pairs + t) * next * size;
            for (int c = 0; c < lanes; c++) {
                double sum = get(type, bias + c * size);
                for (int n = 0; n < planes * taps_h * width; n++) {
                    const int p = n / width / taps_h, i = n / width % taps_h, j = n % width;
                    const int tap = t + first - 2 * (j - before);
                    if (tap >= 0 && tap < K && INSIDE(r + i, j))
                        sum += get(type, x + (((p * height + r + i) * width + j) * lanes + c) * size) *
                               get(type, w + (((p * taps_h + i) * K + tap) * lanes + c) * size);
                }
                expect(same(get(type, pixel + c * size), sum), isa, "up", type_names[type], "value",
                       get(type, pixel + c * size), sum);
            }
            expect(untouched(end, pixel), isa, "up", type_names[type], "wrote between", r, t);
            end = pixel + lanes * size;
        }
    expect(untouched(end, block + sizeof block), isa, "up", type_names[type], "wrote beside", rows, pairs);
}

/* Rows of a plane, padded with zeros; a pixel beside the plane must not come through. */
static void check_plane(const char *isa, int type, const depthwise_kernels *d, int lanes, int K, int S)
{
    enum { MOST_ROWS = 15, MOST_WIDTH = 90 };
    BUFFER x[MOST_ROWS * MOST_WIDTH * 8], w[25 * 3 * 8], bias[8], room[2 * MOST_ROWS * 3 * MOST_WIDTH * 8];
    BUFFER block[MOST_ROWS * (MOST_WIDTH + 8) * 8 + 2 * ROOM];
    const int size = sizes[type], height = between(1, MOST_ROWS), width = S * lanes + between(0, 83 - S * lanes);
    const int top = between(0, K - 1), left = between(0, K - 1), pitch = 2 * lanes + 2 * MOST_WIDTH - 16;
    const int columns = between(lanes, (width + left) / S);
    const int first = between(0, 5), rows = between(1, 12), row = width + between(0, 5), next = columns + between(0, 7);
    const int w_step = between(1, 3);
    fill_with(type, x, height * row);
    fill_with(type, w, 25 * 3);
    fill_with(type, bias, 1);
    for (int h = 0; h < height; h++)
        for (int j = width; j < row; j++)
            put(type, x + (h * row + j) * size, NAN);
    memset(room, 0, sizeof room);
    char *out = canaries(block, sizeof block - 2 * ROOM);
    const plane_args p = {.x = x,
                          .row = row * size,
                          .height = height,
                          .width = width,
                          .first = first,
                          .top = top,
                          .left = left,
                          .w = w,
                          .w_step = w_step,
                          .bias = between(0, 1) ? bias : NULL,
                          .out = out,
                          .out_row = next * size,
                          .rows = rows,
                          .columns = columns,
                          .clamp = between(0, 1),
                          .low = -20,
                          .high = 30,
                          .room = room,
                          .pitch = pitch};
    d->plane[K][S](&p);
    const char *end = block;
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < columns; j++) {
            double sum = p.bias ? get(type, bias) : 0;
            for (int t = 0; t < K * K; t++) {
                const int h = (first + r) * S + t / K - top, v = j * S + t % K - left;
                if (h >= 0 && h < height && v >= 0 && v < width)
                    sum += get(type, x + (h * row + v) * size) * get(type, w + t * w_step * size);
            }
            const double found = get(type, out + (r * next + j) * size), wanted = p.clamp ? clamped(sum, -20, 30) : sum;
            expect(same(found, wanted), isa, "plane", type_names[type], "value", found, wanted);
        }
        expect(untouched(end, out + r * next * size), isa, "plane", type_names[type], "wrote between", r, columns);
        end = out + (r * next + columns) * size;
    }
    expect(untouched(end, block + sizeof block), isa, "plane", type_names[type], "wrote beside", rows, columns);
}

/* Pairs of outputs along both axes; the last pair of rows, and of columns, may be half of one. */
static void check_plane_up(const char *isa, int type, const depthwise_kernels *d, int lanes, int K, int parity)
{
    enum { MOST_ROWS = 15, MOST_WIDTH = 90, MOST_PITCH = 2 * MOST_WIDTH };
    BUFFER x[MOST_ROWS * MOST_WIDTH * 8], w[25 * 3 * 8], bias[8], room[MOST_ROWS * MOST_PITCH * 8];
    BUFFER block[2 * MOST_ROWS * (MOST_PITCH + 8) * 8 + 2 * ROOM];
    const int before = (K - 1 - parity) / 2, taps = before + 1 + parity;
    const int size = sizes[type], height = between(1, MOST_ROWS), width = lanes + between(0, 80 - lanes);
    const int top = between(0, taps - 1), left = between(0, taps - 1), pairs = between(lanes, width + left);
    const int first = between(0, 5), rows = between(1, 10), row = width + between(0, 5), half = between(0, 1);
    const int columns = 2 * pairs - between(0, 1), next = columns + between(0, 7), w_step = between(1, 3);
    fill_with(type, x, height * row);
    fill_with(type, w, 25 * 3);
    fill_with(type, bias, 1);
    for (int h = 0; h < height; h++)
        for (int j = width; j < row; j++)
            put(type, x + (h * row + j) * size, NAN);
    memset(room, 0, sizeof room);
    char *out = canaries(block, sizeof block - 2 * ROOM);
    const plane_args p = {.x = x,
                          .row = row * size,
                          .height = height,
                          .width = width,
                          .first = first,
                          .top = top,
                          .left = left,
                          .w = w,
                          .w_step = w_step,
                          .bias = between(0, 1) ? bias : NULL,
                          .out = out,
                          .out_row = next * size,
                          .rows = rows,
                          .columns = columns,
                          .half = half,
                          .clamp = between(0, 1),
                          .low = -20,
                          .high = 30,
                          .room = room,
                          .pitch = MOST_PITCH};
    d->plane_up[K][parity](&p);
    const char *end = block;
    for (int r = 0; r < 2 * rows - half; r++) {
        for (int j = 0; j < columns; j++) {
            double sum = p.bias ? get(type, bias) : 0;
            for (int t = 0; t < taps * taps; t++) {
                const int i = t / taps, k = t % taps, h = first + r / 2 + i - top, v = j / 2 + k - left;
                const int a = r % 2 + parity - 2 * (i - before), b = j % 2 + parity - 2 * (k - before);
                if (a >= 0 && a < K && b >= 0 && b < K && h >= 0 && h < height && v >= 0 && v < width)
                    sum += get(type, x + (h * row + v) * size) * get(type, w + (a * K + b) * w_step * size);
            }
            const double found = get(type, out + (r * next + j) * size), wanted = p.clamp ? clamped(sum, -20, 30) : sum;
            expect(same(found, wanted), isa, "plane up", type_names[type], "value", found, wanted);
        }
        expect(untouched(end, out + r * next * size), isa, "plane up", type_names[type], "wrote between", r, columns);
        end = out + (r * next + columns) * size;
    }
    expect(untouched(end, block + sizeof block), isa, "plane up", type_names[type], "wrote beside", rows, columns);
}

int main(void)
{
    const int pixels[] = {1, 2, 4, 7};
    for (int isa = 0; isa < ISAS; isa++)
        for (int type = 0; isa_detected(isa) && type < COMPUTE_TYPES; type++) {
            const depthwise_kernels *d = depthwise_kernels_of(isa) + type;
            const int lanes = lanes_of(isa, type);
            for (int round = 0; round < 40; round++)
                for (int n = 0; n < 4; n++) {
                    check_slide(isa_names[isa], type, d, lanes, 0, 0, pixels[n]);
                    for (int which = 0; which < (type == I32 ? 0 : 6); which++)
                        check_slide(isa_names[isa], type, d, lanes, 3 + which / 2 * 2, 1 + which % 2, pixels[n]);
                    for (int which = 0; which < (type == I32 ? 0 : 8); which++)
                        check_up(isa_names[isa], type, d, lanes, 2 + which / 2, which % 2, pixels[n]);
                }
            for (int round = 0; round < (type == I32 ? 0 : 200); round++) {
                check_plane(isa_names[isa], type, d, lanes, 3 + round % 2 * 2, 1 + round / 2 % 2);
                check_plane_up(isa_names[isa], type, d, lanes, 2 + round % 4, round / 4 % 2);
            }
            printf("slide any up plane arrange %-4s %s\n", type_names[type], isa_names[isa]);
        }
    printf("%d wrong\n", failures);
    return failures != 0;
}

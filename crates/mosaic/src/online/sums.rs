//! Sums over the pixels of a row, several at once.
//!
//! A compiler adds floating-point numbers in the order that is written down, one after the other. Here several partial sums run
//! side by side, so that it can use vectors. They are single precision within a row, and double between rows.

/// Partial sums of each sum.
const LANES: usize = 8;

/// The sums over a row of what `each` gives for a pixel: from its column and its values in the four slices. As many pixels as
/// the shortest slice has.
pub(super) fn sums<const N: usize>(
    row: [&[f32]; 4],
    each: impl Fn(f32, [f32; 4]) -> [f32; N],
) -> [f64; N] {
    let mut partial = [[0.0_f32; N]; LANES];
    let length = row.iter().map(|values| values.len()).min().unwrap_or(0);
    let [a, b, c, d] = row.map(|values| values.get(..length).unwrap_or_default());
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let ((c, c_rest), (d, d_rest)) = (c.as_chunks::<LANES>(), d.as_chunks::<LANES>());
    for (chunk, (((a, b), c), d)) in a.iter().zip(b).zip(c).zip(d).enumerate() {
        let first = (chunk * LANES) as f32;
        let pixels = a.iter().zip(b).zip(c).zip(d);
        for (lane, (partial, (((&a, &b), &c), &d))) in partial.iter_mut().zip(pixels).enumerate() {
            add(partial, each(first + lane as f32, [a, b, c, d]));
        }
    }
    let first = length - a_rest.len();
    let rest = a_rest.iter().zip(b_rest).zip(c_rest).zip(d_rest);
    for (index, (partial, (((&a, &b), &c), &d))) in partial.iter_mut().zip(rest).enumerate() {
        add(partial, each((first + index) as f32, [a, b, c, d]));
    }
    let mut total = [0.0; N];
    for partial in partial {
        for (total, partial) in total.iter_mut().zip(partial) {
            *total += f64::from(partial);
        }
    }
    total
}

fn add<const N: usize>(partial: &mut [f32; N], values: [f32; N]) {
    for (partial, value) in partial.iter_mut().zip(values) {
        *partial += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_of_a_row_is_in_the_sums_once() {
        for length in 0..40 {
            let values: Vec<f32> = (0..length).map(|k| k as f32).collect();
            let longer = vec![1.0; length + 3];
            let row = [&values[..], &longer, &values, &longer];
            let [count, columns, products] =
                sums(row, |column, [a, b, c, d]| [b * d, column, a * c]);
            let sum = |of: fn(f64) -> f64| (0..length).map(|k| of(k as f64)).sum::<f64>();
            assert_eq!(count, length as f64);
            assert_eq!(columns, sum(|k| k));
            assert_eq!(products, sum(|k| k * k));
        }
    }
}

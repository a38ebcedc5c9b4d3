//! For how many rows there is a program.
//!
//! The one idea: capturing a graph takes much longer than running it, so there is one for a few numbers of rows only, and a batch
//! runs in the smallest that has room for it. From bucket to bucket is at most a factor of 1.25: no more than a fifth of the
//! rows are for nothing, and up to 8, where that would be felt most, none. With steps twice as large, 64 callers of a transformer, whose batches
//! have 5 to 14 rows, got 4 % less (H200).
//!
//! Rows that nobody asked for hold copies of the first row (`unisono_runtime::program::staging`), so whatever a kernel checks of
//! its data holds for them if it holds for that one. Contract C2 says that they reach nobody's answer.

/// Up to so many rows each number has its bucket.
const EXACT: usize = 8;

/// The smallest bucket with room for so many rows, of those of at most `largest` rows; beyond that, just as many.
pub(crate) fn bucket(rows: usize, largest: usize) -> usize {
    if rows <= EXACT || rows > largest {
        return rows;
    }
    // 10, 12, 14, 16, 20, 24, 28, 32, 40, ...
    let step = 1 << ((rows - 1).ilog2() - 2);
    let bucket = rows.checked_next_multiple_of(step).unwrap_or(rows);
    bucket.min(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_room_and_wastes_a_fifth_at_most() {
        for largest in [1, 5, 100, 1024] {
            for rows in 1..=2 * largest {
                let found = bucket(rows, largest);
                assert!(
                    found >= rows && found - rows <= found / 5,
                    "{rows} in {found}"
                );
                assert!(rows <= largest || found == rows);
                // Whatever has the same bucket as another needs no other capture.
                assert_eq!(bucket(found, largest), found);
            }
        }
    }

    #[test]
    fn there_are_few() {
        let mut all: Vec<usize> = (1..=256).map(|rows| bucket(rows, 1024)).collect();
        all.dedup();
        assert_eq!(
            all,
            [
                1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96,
                112, 128, 160, 192, 224, 256
            ]
        );
        assert_eq!(bucket(900, 1000), 1000);
    }
}

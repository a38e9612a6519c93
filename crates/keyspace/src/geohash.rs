//! Places on the earth as cells of a grid: longitude and latitude are halved `step` times each, and their bits stand by turns
//! in one number, so that cells that are near each other mostly have numbers that are. With 26 steps it is a score of
//! 52 bits, which a float holds exactly. (Redis: GEOADD)

/// Halvings of a place.
pub(crate) const STEP_MAX: u32 = 26;
/// Beyond it there is no place.
pub(crate) const LONGITUDE_MAX: f64 = 180.0;
/// Likewise; the world is a square then (EPSG:900913).
pub(crate) const LATITUDE_MAX: f64 = 85.051_128_78;
/// The earth's, in metres.
pub(crate) const RADIUS: f64 = 6_372_797.560_856;

/// A place in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub(crate) longitude: f64,
    pub(crate) latitude: f64,
}

/// What a cell covers, in degrees; each has the least and the most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    pub(crate) longitude: (f64, f64),
    pub(crate) latitude: (f64, f64),
}

/// One cell of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    column: u32,
    row: u32,
    pub(crate) step: u32,
}

impl Place {
    /// A place, if there is one.
    pub(crate) fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let inside = longitude.abs() <= LONGITUDE_MAX && latitude.abs() <= LATITUDE_MAX;
        inside.then_some(Self { longitude, latitude })
    }

    /// The middle of a score's cell.
    pub(crate) fn of_score(score: f64) -> Self {
        let area = Cell::of_bits(bits_of(score)).area();
        let middle = |(least, most): (f64, f64), end: f64| ((least + most) / 2.0).clamp(-end, end);
        Self {
            longitude: middle(area.longitude, LONGITUDE_MAX),
            latitude: middle(area.latitude, LATITUDE_MAX),
        }
    }

    /// The score under which it is kept.
    pub(crate) fn score(self) -> f64 {
        Cell::around(self, STEP_MAX, LATITUDE_MAX).bits() as f64
    }

    /// Metres to another place on a sphere. (The haversine formula)
    pub(crate) fn distance(self, other: Place) -> f64 {
        let v = ((other.longitude.to_radians() - self.longitude.to_radians()) / 2.0).sin();
        if v == 0.0 {
            return self.distance_north(other);
        }
        let (own, others) = (self.latitude.to_radians(), other.latitude.to_radians());
        let u = ((others - own) / 2.0).sin();
        let a = u * u + own.cos() * others.cos() * v * v;
        // Opposite places may come out as a little more than opposite.
        2.0 * RADIUS * a.sqrt().min(1.0).asin()
    }

    /// Metres to the other's latitude.
    pub(crate) fn distance_north(self, other: Place) -> f64 {
        RADIUS * (other.latitude.to_radians() - self.latitude.to_radians()).abs()
    }

    /// The eleven letters that other programs know it by. (geohash.org: latitudes up to 90 degrees there)
    pub(crate) fn text(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::around(self, STEP_MAX, 90.0).bits();
        // 52 bits are ten letters and a part of the eleventh, which is not worth saying.
        std::array::from_fn(|i| match i {
            10 => b'0',
            _ => LETTERS[(bits >> (47 - 5 * i) & 0x1f) as usize],
        })
    }
}

impl Cell {
    /// The cell in which a place lies, where the latitude goes up to so many degrees.
    pub(crate) fn around(place: Place, step: u32, latitude_max: f64) -> Self {
        let cells = (1u64 << step) as f64;
        let index = |degrees: f64, end: f64| ((degrees + end) / (2.0 * end) * cells) as u32;
        Self { column: index(place.longitude, LONGITUDE_MAX), row: index(place.latitude, latitude_max), step }
    }

    fn of_bits(bits: u64) -> Self {
        Self { column: every_second(bits >> 1), row: every_second(bits), step: STEP_MAX }
    }

    fn bits(self) -> u64 {
        spread(self.row) | spread(self.column) << 1
    }

    /// What it covers.
    pub(crate) fn area(self) -> Area {
        let cells = (1u64 << self.step) as f64;
        let side = |index: u32, end: f64| {
            let index = f64::from(index);
            (-end + index / cells * (2.0 * end), -end + (index + 1.0) / cells * (2.0 * end))
        };
        Area { longitude: side(self.column, LONGITUDE_MAX), latitude: side(self.row, LATITUDE_MAX) }
    }

    /// The cell so many columns to the east and rows to the north, around the world if need be.
    pub(crate) fn beside(self, east: i32, north: i32) -> Self {
        let mask = (1u32 << self.step) - 1;
        let moved = |index: u32, by: i32| match by {
            0 => index,
            by => index.wrapping_add_signed(by) & mask,
        };
        Self { column: moved(self.column, east), row: moved(self.row, north), step: self.step }
    }

    /// The scores of the places in it: the least, and the first one that is too great.
    pub(crate) fn scores(self) -> (f64, f64) {
        let (bits, shift) = (self.bits(), 2 * (STEP_MAX - self.step));
        ((bits << shift) as f64, ((bits + 1) << shift) as f64)
    }
}

/// The score as a number, also where it is none that GEOADD gives: then as Redis' cast does on the usual machines.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    let word = |value: f64| if (-HALF..HALF).contains(&value) { value as i64 } else { i64::MIN } as u64;
    if score < HALF { word(score) } else { word(score - HALF) ^ 1 << 63 }
}

/// Puts a zero in front of each bit.
fn spread(number: u32) -> u64 {
    [(16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff), (4, 0x0f0f_0f0f_0f0f_0f0f)]
        .into_iter()
        .chain([(2, 0x3333_3333_3333_3333), (1, 0x5555_5555_5555_5555)])
        .fold(u64::from(number), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

/// The bits at even places.
fn every_second(bits: u64) -> u32 {
    [(1, 0x3333_3333_3333_3333), (2, 0x0f0f_0f0f_0f0f_0f0f), (4, 0x00ff_00ff_00ff_00ff)]
        .into_iter()
        .chain([(8, 0x0000_ffff_0000_ffff), (16, 0x0000_0000_ffff_ffff)])
        .fold(bits & 0x5555_5555_5555_5555, |bits, (shift, mask)| (bits | bits >> shift) & mask) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stand_by_turns_and_come_back() {
        assert_eq!((spread(0b1011), every_second(0b0100_0101)), (0b0100_0101, 0b1011));
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let cell =
                Cell { column: rng.u32(..1 << STEP_MAX), row: rng.u32(..1 << STEP_MAX), step: STEP_MAX };
            assert_eq!(Cell::of_bits(cell.bits()), cell);
            let (east, north) = (rng.i32(-1..2), rng.i32(-1..2));
            assert_eq!(cell.beside(east, north).beside(-east, -north), cell);
        }
    }

    #[test]
    fn a_place_lies_in_its_cell_and_a_metre_from_its_middle() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..1000 {
            let place = Place::new(rng.f64() * 360.0 - 180.0, (rng.f64() * 2.0 - 1.0) * LATITUDE_MAX)
                .expect("inside");
            for step in 1..=STEP_MAX {
                let (cell, score) = (Cell::around(place, step, LATITUDE_MAX), place.score());
                let (least, end) = cell.scores();
                assert!(least <= score && score < end, "{place:?} at step {step}");
                let Area { longitude, latitude } = cell.area();
                assert!(longitude.0 <= place.longitude && place.longitude <= longitude.1);
                assert!(latitude.0 <= place.latitude && place.latitude <= latitude.1);
            }
            assert!(place.distance(Place::of_score(place.score())) < 1.0);
        }
        assert_eq!(Place::new(180.1, 0.0), None);
        assert_eq!(Place::new(0.0, -85.06), None);
    }
}

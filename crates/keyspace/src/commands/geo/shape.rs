//! A circle or a box around a place, and the few cells of the grid that cover it, of a size that suits.

use crate::geohash::{Area, Cell, LATITUDE_MAX, Place, RADIUS, STEP_MAX};

/// Half of the world's width on the map, in metres.
const HALF_WORLD: f64 = 20_037_726.37;

/// Divided as Redis does, which may differ in the last bit from what multiplying gives.
fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

/// What a search is inside of, in metres.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// An extent around a place.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) centre: Place,
    pub(super) extent: Extent,
}

impl Shape {
    /// How far away a place is that lies inside.
    pub(super) fn distance(&self, place: Place) -> Option<f64> {
        match self.extent {
            Extent::Circle { radius } => {
                let distance = self.centre.distance(place);
                (distance <= radius).then_some(distance)
            }
            Extent::Box { width, height } => {
                let beside = Place { longitude: self.centre.longitude, latitude: place.latitude };
                let inside = self.centre.distance_north(place) <= height / 2.0
                    && place.distance(beside) <= width / 2.0;
                inside.then(|| self.centre.distance(place))
            }
        }
    }

    /// Degrees that surround it.
    fn bounds(&self) -> Area {
        let (east, north) = match self.extent {
            Extent::Circle { radius } => (radius, radius),
            Extent::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let Place { longitude, latitude } = self.centre;
        let up = degrees(north / RADIUS);
        // Degrees of longitude are shortest at the edge that is nearer to a pole.
        let edge = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = degrees(east / RADIUS / edge.to_radians().cos());
        Area { longitude: (longitude - aside, longitude + aside), latitude: (latitude - up, latitude + up) }
    }

    /// With how many halvings a cell and its neighbours cover it, about.
    fn step(&self) -> u32 {
        let mut metres = match self.extent {
            Extent::Circle { radius } => radius,
            Extent::Box { width, height } => ((width / 2.0).powi(2) + (height / 2.0).powi(2)).sqrt(),
        };
        if metres == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1i32;
        while metres < HALF_WORLD {
            metres *= 2.0;
            step += 1;
        }
        // Towards the poles cells become narrow.
        let latitude = self.centre.latitude.abs();
        let narrow = i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        (step - 2 - narrow).clamp(1, STEP_MAX as i32) as u32
    }

    /// The cells to search: the one in the middle, then its neighbours but for those that cannot have anything.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut cell = Cell::around(self.centre, self.step(), LATITUDE_MAX);
        let falls_short = cell.beside(0, 1).area().latitude.1 < bounds.latitude.1
            || cell.beside(0, -1).area().latitude.0 > bounds.latitude.0
            || cell.beside(1, 0).area().longitude.1 < bounds.longitude.1
            || cell.beside(-1, 0).area().longitude.0 > bounds.longitude.0;
        if cell.step > 1 && falls_short {
            cell = Cell::around(self.centre, cell.step - 1, LATITUDE_MAX);
        }
        let area = cell.area();
        let useless = |east: i32, north: i32| {
            cell.step >= 2
                && (north < 0 && area.latitude.0 < bounds.latitude.0
                    || north > 0 && area.latitude.1 > bounds.latitude.1
                    || east < 0 && area.longitude.0 < bounds.longitude.0
                    || east > 0 && area.longitude.1 > bounds.longitude.1)
        };
        const AROUND: [(i32, i32); 8] =
            [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut cells: Vec<Cell> = AROUND
            .iter()
            .filter(|(east, north)| !useless(*east, *north))
            .map(|(east, north)| cell.beside(*east, *north))
            .collect();
        // In a coarse grid east and west are the same.
        cells.dedup();
        cells.insert(0, cell);
        cells
    }
}

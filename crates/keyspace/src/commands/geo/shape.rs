//! A circle or a box around a place, or a polygon, and the few cells of the grid that cover it, of a size that suits.

use crate::geohash::{Area, Cell, LATITUDE_MAX, LONGITUDE_MAX, Place, RADIUS, STEP_MAX};

/// Half of the world's width on the map, in metres.
const HALF_WORLD: f64 = 20_037_726.37;

/// Divided as Redis does, which may differ in the last bit from what multiplying gives.
fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

/// What a search is inside of, in metres.
pub(super) enum Extent {
    Circle {
        radius: f64,
    },
    Box {
        width: f64,
        height: f64,
    },
    /// Its corners; edges are straight on a map whose degrees are squares.
    Polygon(Vec<Place>),
}

/// An extent around a place.
pub(super) struct Shape<'a> {
    pub(super) centre: Place,
    pub(super) extent: &'a Extent,
}

/// In the middle of some places on the sphere, wherever that is if they are all around it. (Valkey: GEOSEARCH BYPOLYGON)
pub(super) fn middle(places: &[Place]) -> Place {
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for Place { longitude, latitude } in places {
        let (longitude, latitude) = (longitude.to_radians(), latitude.to_radians());
        x += RADIUS * latitude.cos() * longitude.cos();
        y += RADIUS * latitude.cos() * longitude.sin();
        z += RADIUS * latitude.sin();
    }
    // In metres, divided, and by a root, as Valkey does: the last bits of distances depend on it.
    let count = places.len() as f64;
    let (x, y, z) = (x / count, y / count, z / count);
    Place { longitude: degrees(y.atan2(x)), latitude: degrees(z.atan2((x * x + y * y).sqrt())) }
}

/// True if a line from the place to the east crosses an odd number of edges.
fn is_within(place: Place, corners: &[Place]) -> bool {
    let mut before = corners.last();
    let mut inside = false;
    for corner in corners {
        if let Some(before) = before.replace(corner)
            && (corner.latitude > place.latitude) != (before.latitude > place.latitude)
        {
            let up = (place.latitude - corner.latitude) / (before.latitude - corner.latitude);
            inside ^= place.longitude < corner.longitude + (before.longitude - corner.longitude) * up;
        }
    }
    inside
}

impl Shape<'_> {
    /// How far away a place is that lies inside.
    pub(super) fn distance(&self, place: Place) -> Option<f64> {
        match self.extent {
            Extent::Circle { radius } => {
                let distance = self.centre.distance(place);
                (distance <= *radius).then_some(distance)
            }
            Extent::Box { width, height } => {
                let beside = Place { longitude: self.centre.longitude, latitude: place.latitude };
                let inside = self.centre.distance_north(place) <= height / 2.0
                    && place.distance(beside) <= width / 2.0;
                inside.then(|| self.centre.distance(place))
            }
            Extent::Polygon(corners) => is_within(place, corners).then(|| self.centre.distance(place)),
        }
    }

    /// Degrees that surround it.
    fn bounds(&self) -> Area {
        let (east, north) = match self.extent {
            Extent::Circle { radius } => (*radius, *radius),
            Extent::Box { width, height } => (width / 2.0, height / 2.0),
            Extent::Polygon(corners) => return around(corners),
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
            Extent::Circle { radius } => *radius,
            Extent::Box { width, height } => ((width / 2.0).powi(2) + (height / 2.0).powi(2)).sqrt(),
            Extent::Polygon(corners) => {
                let Area { longitude: (west, east), latitude: (south, north) } = around(corners);
                let to = |longitude, latitude| self.centre.distance(Place { longitude, latitude });
                to(west, north).max(to(east, north)).max(to(west, south)).max(to(east, south))
            }
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
        // The middle of corners near a pole lies where no cells are.
        let latitude = self.centre.latitude.clamp(-LATITUDE_MAX, LATITUDE_MAX - 0.001);
        let centre = Place { latitude, ..self.centre };
        let mut cell = Cell::around(centre, self.step(), LATITUDE_MAX);
        let falls_short = |cell: Cell| {
            cell.beside(0, 1).area().latitude.1 < bounds.latitude.1
                || cell.beside(0, -1).area().latitude.0 > bounds.latitude.0
                || cell.beside(1, 0).area().longitude.1 < bounds.longitude.1
                || cell.beside(-1, 0).area().longitude.0 > bounds.longitude.0
        };
        if cell.step > 1 && falls_short(cell) {
            cell = Cell::around(centre, cell.step - 1, LATITUDE_MAX);
        }
        // DEVIATION: Valkey looks no further and misses members of polygons that are large or near a pole.
        while matches!(self.extent, Extent::Polygon(_)) && cell.step > 1 && !reaches(cell, bounds) {
            cell = Cell::around(centre, cell.step - 1, LATITUDE_MAX);
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

/// True if a cell and those beside it cover so much of the map.
fn reaches(cell: Cell, bounds: Area) -> bool {
    let covers = |(least, most): (f64, f64), (from, to): (f64, f64)| {
        let side = most - least;
        least - side <= from && most + side >= to
    };
    let area = cell.area();
    covers(area.longitude, bounds.longitude) && covers(area.latitude, bounds.latitude)
}

/// Degrees that surround some places.
fn around(places: &[Place]) -> Area {
    let nowhere =
        Area { longitude: (LONGITUDE_MAX, -LONGITUDE_MAX), latitude: (LATITUDE_MAX, -LATITUDE_MAX) };
    places.iter().fold(nowhere, |area, place| Area {
        longitude: (area.longitude.0.min(place.longitude), area.longitude.1.max(place.longitude)),
        latitude: (area.latitude.0.min(place.latitude), area.latitude.1.max(place.latitude)),
    })
}

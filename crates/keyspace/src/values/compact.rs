//! A collection behind one pointer: small, then it is a run of bytes, or large. The pointer's lowest bit tells which.

use super::packed::Run;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// What a collection is at the moment.
pub(crate) enum Form<S, L> {
    /// A run of bytes.
    Small(S),
    /// Whatever is better for many.
    Large(L),
}

/// What is nothing but a [`Run`] to the compiler.
///
/// # Safety
/// The type is a transparent wrapper of it.
pub(crate) unsafe trait Small: Default + Clone {}

// SAFETY: it is one.
unsafe impl Small for Run {}

/// The collection.
pub(crate) struct Compact<S: Small, L> {
    /// A run's own pointer, or a box's with its lowest bit set.
    pointer: *mut u8,
    owned: PhantomData<(S, Box<L>)>,
}

// SAFETY: it owns a run or a box, and has neither shared.
unsafe impl<S: Small + Send, L: Send> Send for Compact<S, L> {}

const _: () = assert!(size_of::<Run>() == size_of::<*mut u8>());

impl<S: Small, L> Compact<S, L> {
    const EVEN: () = assert!(align_of::<L>() > 1, "a box's pointer has to be even");

    /// A small one.
    pub(super) fn small(small: S) -> Self {
        let mut new = Self { pointer: std::ptr::null_mut(), owned: PhantomData };
        // SAFETY: both are a pointer, and the one there is an empty run's, which owns nothing.
        unsafe { (&raw mut new.pointer).cast::<S>().write(small) };
        new
    }

    /// A large one.
    pub(super) fn large(large: L) -> Self {
        let () = Self::EVEN;
        let pointer = Box::into_raw(Box::new(large)).cast::<u8>();
        Self { pointer: pointer.map_addr(|address| address | 1), owned: PhantomData }
    }

    /// The box's pointer, if it is large.
    #[inline]
    fn boxed(&self) -> Option<NonNull<L>> {
        (self.pointer.addr() & 1 == 1)
            .then(|| NonNull::new(self.pointer.map_addr(|address| address & !1).cast()))
            .flatten()
    }

    /// What it is.
    #[inline]
    pub(super) fn get(&self) -> Form<&S, &L> {
        // SAFETY: the lowest bit says what the pointer is; it is owned, so it lives as long as the borrow.
        unsafe {
            match self.boxed() {
                Some(large) => Form::Large(large.as_ref()),
                None => Form::Small(&*(&raw const self.pointer).cast::<S>()),
            }
        }
    }

    /// What it is, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self) -> Form<&mut S, &mut L> {
        // SAFETY: as in `get`; a run keeps its pointer even.
        unsafe {
            match self.boxed() {
                Some(mut large) => Form::Large(large.as_mut()),
                None => Form::Small(&mut *(&raw mut self.pointer).cast::<S>()),
            }
        }
    }
}

impl<S: Small, L> Default for Compact<S, L> {
    fn default() -> Self {
        Self::small(S::default())
    }
}

impl<S: Small, L: Clone> Clone for Compact<S, L> {
    fn clone(&self) -> Self {
        match self.get() {
            Form::Small(small) => Self::small(small.clone()),
            Form::Large(large) => Self::large(large.clone()),
        }
    }
}

impl<S: Small, L> Drop for Compact<S, L> {
    fn drop(&mut self) {
        // SAFETY: it owns what it points to, and nobody asks it again.
        unsafe {
            match self.boxed() {
                Some(large) => drop(Box::from_raw(large.as_ptr())),
                None => (&raw mut self.pointer).cast::<S>().drop_in_place(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(compact: &Compact<Run, String>) -> String {
        match compact.get() {
            Form::Small(run) => String::from_utf8_lossy(run.run()).into_owned(),
            Form::Large(large) => large.clone(),
        }
    }

    #[test]
    fn it_is_what_it_was_made_of() {
        let mut compact = Compact::<Run, String>::default();
        assert_eq!(text(&compact), "");
        let Form::Small(run) = compact.get_mut() else { panic!("it begins small") };
        run.room(0..0, 3, 1).copy_from_slice(b"one");
        let copy = compact.clone();
        assert_eq!((text(&compact), text(&copy)), ("one".into(), "one".into()));
        compact = Compact::large(text(&compact) + " and two");
        let Form::Large(large) = compact.get_mut() else { panic!("it was made large") };
        large.push_str(" and three");
        assert_eq!((text(&compact.clone()), text(&copy)), ("one and two and three".into(), "one".into()));
        assert_eq!(size_of_val(&compact), 8);
    }
}

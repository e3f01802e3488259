//! The discrete state of a piecewise-smooth flow: which piece each switch is in, and which switches slide.
//!
//! A mode is authoritative. It changes only when the integrator commits an event and is never read back from
//! the signs of switching values, which are rounding noise at the very moments that matter.

/// A switch at one of its breakpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contact {
    /// Index of the switch.
    pub switch: usize,
    /// Index of the breakpoint; the pieces on its two sides are `breakpoint` (below) and `breakpoint + 1` (above).
    pub breakpoint: u16,
}

/// Where a switch may be, relative to a breakpoint it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In the piece below the breakpoint.
    Below,
    /// In the piece above the breakpoint.
    Above,
}

impl Side {
    /// +1 above, −1 below.
    pub fn sign(self) -> f64 {
        match self {
            Self::Below => -1.0,
            Self::Above => 1.0,
        }
    }

    /// The other side.
    pub fn opposite(self) -> Self {
        match self {
            Self::Below => Self::Above,
            Self::Above => Self::Below,
        }
    }
}

/// The piece of every switch and the set of sliding contacts.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Mode {
    piece: Vec<u16>,
    held: Vec<bool>,
    sliding: Vec<Contact>,
    attached: Vec<Contact>,
    idle: Vec<Contact>,
}

impl Clone for Mode {
    fn clone(&self) -> Self {
        Self {
            piece: self.piece.clone(),
            held: self.held.clone(),
            sliding: self.sliding.clone(),
            attached: self.attached.clone(),
            idle: self.idle.clone(),
        }
    }

    /// In the memory at hand, which a derived one would not use again.
    fn clone_from(&mut self, other: &Self) {
        self.piece.clone_from(&other.piece);
        self.held.clone_from(&other.held);
        self.sliding.clone_from(&other.sliding);
        self.attached.clone_from(&other.attached);
        self.idle.clone_from(&other.idle);
    }
}

impl Mode {
    /// No switch slides; `piece[j]` is the piece of switch `j`.
    pub fn new(piece: Vec<u16>) -> Self {
        Self { held: vec![false; piece.len()], piece, sliding: Vec::new(), attached: Vec::new(), idle: Vec::new() }
    }

    /// Piece of each switch. For a sliding switch it is the index of the breakpoint it is held at.
    pub fn pieces(&self) -> &[u16] {
        &self.piece
    }

    /// Sliding contacts in increasing order of switch.
    pub fn sliding(&self) -> &[Contact] {
        &self.sliding
    }

    /// The sliding contacts and others, sorted.
    pub fn contacts_with(&self, others: &[Contact]) -> Vec<Contact> {
        let mut contacts: Vec<Contact> = self.sliding.iter().chain(others).copied().collect();
        contacts.sort_unstable();
        contacts
    }

    /// Contacts of free switches that cannot leave their breakpoint as long as the sliding ones are held, because their surfaces follow from
    /// those, in increasing order. The slides they depend on end together with them.
    pub fn attached(&self) -> &[Contact] {
        &self.attached
    }

    /// Says which contacts are attached, and which of them are idle.
    pub fn attach(&mut self, mut contacts: Vec<Contact>, idle: Vec<Contact>) {
        contacts.sort_unstable();
        (self.attached, self.idle) = (contacts, idle);
    }

    /// No longer takes a contact for attached.
    pub fn detach(&mut self, contact: Contact) {
        self.attached.retain(|c| *c != contact);
        self.idle.retain(|c| *c != contact);
    }

    /// Whether a contact stays on its breakpoint: because it is held, or attached to what is. Which of those that depend on each other are held
    /// is a matter of book-keeping. An idle one, which reads nothing but units that stand on their own breakpoint, has no gradient that it could be held by; it stays in its
    /// piece.
    pub fn stays(&self, contact: Contact) -> bool {
        self.held[contact.switch] || self.attached.contains(&contact) && !self.idle.contains(&contact)
    }

    /// The [`side`](Self::side) that events tell of: `None` for all that stay on their breakpoint, whichever of them are held.
    pub fn side_told(&self, contact: Contact) -> Option<Side> {
        self.side(contact).filter(|_| !self.stays(contact))
    }

    /// All contacts that stay on their breakpoint, those held first.
    pub fn staying(&self) -> impl Iterator<Item = Contact> + '_ {
        let joined = self.attached.iter().filter(|contact| !self.idle.contains(contact));
        self.sliding.iter().chain(joined).copied()
    }

    /// Whether `switch` slides.
    pub fn slides(&self, switch: usize) -> bool {
        self.held[switch]
    }

    /// Where a switch is relative to the breakpoint of `contact`: a side, or `None` while it slides.
    pub fn side(&self, contact: Contact) -> Option<Side> {
        if self.held[contact.switch] {
            None
        } else if self.piece[contact.switch] <= contact.breakpoint {
            Some(Side::Below)
        } else {
            Some(Side::Above)
        }
    }

    /// Puts the switch of `contact` into the piece on `side` of its breakpoint.
    pub fn place(&mut self, contact: Contact, side: Side) {
        if std::mem::replace(&mut self.held[contact.switch], false) {
            self.sliding.retain(|c| c.switch != contact.switch);
        }
        self.piece[contact.switch] = match side {
            Side::Below => contact.breakpoint,
            Side::Above => contact.breakpoint + 1,
        };
    }

    /// Makes the switch of `contact` slide along its breakpoint.
    pub fn hold(&mut self, contact: Contact) {
        if !std::mem::replace(&mut self.held[contact.switch], true) {
            let at = self.sliding.partition_point(|c| *c < contact);
            self.sliding.insert(at, contact);
        }
        self.piece[contact.switch] = contact.breakpoint;
    }
}

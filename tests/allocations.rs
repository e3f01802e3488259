//! Once its memory has grown, the loop allocates nothing in a step without an event, with any method that `Auto` is made of, and a
//! handful of short lists at an event. Every test counts on its own thread, so that the counts are exact.

mod common;

use common::{Case, options, stepper};
use gradflow::flow::FlowField;
use gradflow::net::Activation;
use gradflow::ode::{Event, Observer, Options, Point, StartContact, StepView, integrate};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::ControlFlow;

thread_local! {
    static N_ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread asks of it; memory that moves when it grows counts as well.
struct Counting;

impl Counting {
    fn count() {
        // A thread that is ending has no counter any more, and nobody asks for it.
        let _ = N_ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
    }
}

// SAFETY: every call is handed on to `System` as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What the loop has just told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Start,
    Step,
    StepToEvent,
    Event,
}

/// The counter when it was told, and what memory depends on there.
#[derive(Debug, Clone, Copy)]
struct Mark {
    told: Told,
    n_allocations: u64,
    n_sliding: usize,
    method_switches: u64,
}

/// Notes the counter whenever it is told something, in memory that it has from the start.
struct Marks(Vec<Mark>);

impl Marks {
    fn note(&mut self, told: Told, point: &Point<'_, FlowField>) {
        assert!(self.0.len() < self.0.capacity(), "more steps and events than there are marks for");
        self.0.push(Mark {
            told,
            n_allocations: N_ALLOCATIONS.get(),
            n_sliding: point.mode.sliding().len(),
            method_switches: point.stats.method_switches,
        });
    }
}

impl Observer<FlowField> for Marks {
    fn start(&mut self, point: &Point<'_, FlowField>, _contacts: &[StartContact]) {
        self.note(Told::Start, point);
    }

    fn step(&mut self, step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        self.note(if step.ends_at_event { Told::StepToEvent } else { Told::Step }, &step.end);
        ControlFlow::Continue(())
    }

    fn event(&mut self, after: &Point<'_, FlowField>, _event: &Event) {
        self.note(Told::Event, after);
    }
}

/// Marks after which memory that has to hold so much has grown: lists at both ends of a step change places from step to step.
const WARM_UP: usize = 10;

/// Allocations of the steps without an event and of the events of a run, after warm-up: where as many units slid, with the same
/// method, a while before. An event includes the step that ends at it.
struct Counted {
    steps: Vec<(usize, u64)>,
    events: Vec<u64>,
}

impl Counted {
    fn of(marks: &[Mark]) -> Self {
        let mut counted = Self { steps: Vec::new(), events: Vec::new() };
        for k in WARM_UP..marks.len() {
            let (mark, since) = (&marks[k], |from: usize| marks[k].n_allocations - marks[from].n_allocations);
            let holds_as_much = |m: &Mark| m.n_sliding >= mark.n_sliding && m.method_switches == mark.method_switches;
            if !marks[..k - WARM_UP].iter().any(holds_as_much) {
                continue;
            }
            match mark.told {
                Told::Step => counted.steps.push((mark.n_sliding, since(k - 1))),
                Told::Event => counted.events.push(since(k - 2)),
                Told::Start | Told::StepToEvent => {}
            }
        }
        counted
    }

    fn steps_while_sliding(&self, least: usize) -> usize {
        self.steps.iter().filter(|(n_sliding, _)| *n_sliding >= least).count()
    }
}

fn count(case: &Case, method: &str, options: &Options) -> Counted {
    let mut field = FlowField::new(case.network.clone(), &case.data).scaled();
    let mut stepper = stepper(method, options.norm, &mut field);
    let mut marks = Marks(Vec::with_capacity(100_000));
    let outcome = integrate(&mut field, &mut *stepper, &case.theta0, options, &mut [], &mut marks);
    assert!(outcome.reason.is_completion(), "{method}: {}", outcome.reason);
    Counted::of(&marks.0)
}

/// Steps without an event allocate no more than `growth` times in all, and there are enough of them to tell.
fn assert_steps_allocate(counted: &Counted, method: &str, growth: u64) {
    let n_steps = counted.steps.len();
    assert!(n_steps >= 30, "{method}: only {n_steps} steps without an event");
    let guilty: Vec<_> = counted.steps.iter().filter(|(_, n)| *n > 0).collect();
    let total: u64 = counted.steps.iter().map(|(_, n)| n).sum();
    assert!(total <= growth, "{method}: (sliding units, allocations) of {guilty:?} among {n_steps} steps");
}

const METHODS: [&str; 3] = ["Tsit5", "Auto", "Esdirk54"];

#[test]
fn late_steps_allocate_nothing() {
    // Long after the last event; Auto has gone over to its implicit pair by then.
    let case = Case::random(&[8, 16, 2], true, Activation::leaky_relu(0.1), 6, 3);
    for method in METHODS.into_iter().chain(["BogackiShampine32", "Dop853"]) {
        let counted = count(&case, method, &options(60.0, 1e-8));
        assert_steps_allocate(&counted, method, 0);
    }
    for method in ["Rkc2", "Rock4"] {
        let counted = count(&case, method, &options(60.0, 1e-8));
        // A number of stages that comes up for the first time brings its table along: a dozen of them here.
        let n_guilty = counted.steps.iter().filter(|(_, n)| *n > 0).count();
        assert!(counted.steps.len() > 200 && n_guilty < 20, "{method}: {n_guilty} of {} steps", counted.steps.len());
    }
}

#[test]
fn steps_between_events_allocate_nothing_while_units_slide() {
    let case = Case::random(&[20, 32, 32, 2], true, Activation::leaky_relu(0.1), 20, 5);
    for method in METHODS {
        // So tight that most steps end at no event.
        let counted = count(&case, method, &options(1.0, 1e-11));
        // The linearisation holds slides by itself, so that its lists grow in the first step of a slide: measured once in 120 steps.
        assert_steps_allocate(&counted, method, if method == "Esdirk54" { 4 } else { 0 });
        let n_sliding = counted.steps_while_sliding(8);
        assert!(n_sliding >= 30, "{method}: only {n_sliding} steps with eight sliding units");
    }
}

#[test]
fn events_allocate_a_handful_of_lists() {
    let case = Case::random(&[20, 32, 32, 2], true, Activation::leaky_relu(0.1), 20, 5);
    for method in METHODS {
        let events = count(&case, method, &options(0.4, 1e-8)).events;
        let most = events.iter().copied().max().unwrap_or(0);
        let mean = events.iter().sum::<u64>() as f64 / events.len() as f64;
        assert!(events.len() > 100, "{method}: {} events", events.len());
        // Contacts hit, contacts on their surfaces, contacts to decide, changes: four lists, and that the counter counts.
        assert!(events.iter().all(|n| *n >= 4), "{method}: {events:?}");
        // Measured 4.4 on average, 4.5 with Esdirk54. At most 11, 27 with Esdirk54, where slides are spread over the layers as never before.
        assert!(mean < 5.0, "{method}: {mean:.2} on average");
        assert!(most <= if method == "Esdirk54" { 40 } else { 16 }, "{method}: up to {most}");
    }
}

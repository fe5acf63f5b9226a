//! One answer of several threads that are one role.

/// What has been gathered so far.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    awaited: usize,
    sum: Option<T>,
}

impl<T> Gathered<T> {
    /// Nothing yet, of so many threads.
    pub(super) fn new(threads: usize) -> Self {
        Self { awaited: threads, sum: None }
    }

    /// What one says for all.
    pub(super) fn whole(sum: T) -> Self {
        Self { awaited: 0, sum: Some(sum) }
    }

    /// Takes what one of them says; `add` counts it in with what others have said.
    pub(super) fn take_in(&mut self, part: T, add: impl FnOnce(&mut T, T)) {
        self.awaited = self.awaited.saturating_sub(1);
        match &mut self.sum {
            Some(sum) => add(sum, part),
            None => self.sum = Some(part),
        }
    }

    /// Whether all have spoken.
    pub(super) fn is_complete(&self) -> bool {
        self.awaited == 0
    }

    /// What they said.
    pub(super) fn into_sum(self) -> Option<T> {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_all_have_spoken() {
        let mut gathered = Gathered::new(2);
        gathered.take_in(3, |sum, part| *sum += part);
        assert!(!gathered.is_complete());
        gathered.take_in(4, |sum, part| *sum += part);
        assert!(gathered.is_complete());
        assert_eq!(gathered.into_sum(), Some(7));
    }
}

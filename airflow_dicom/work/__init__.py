"""One piece of work at a service: started once, waited for, judged, cancelled by nobody but its owner."""

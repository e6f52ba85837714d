"""What only development needs: servers from wheels, `holdfast up`, the demo, the Stripe simulator."""

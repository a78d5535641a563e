using System.Runtime.InteropServices;

namespace Vhost.Tool;

/// <summary>
/// What an operation allocates: the median over the steps of a measurement. What each operation allocates is in every step. What the process allocates once, for a timer
/// or in the runtime, is in one of them, as are the up to 8 KiB that the runtime now and then counts a thread for that allocates nothing. The sum is reported beside it.
/// </summary>
internal sealed class AllocationSteps(int capacity = 64)
{
    private readonly List<decimal> _perOperation = new(capacity);

    internal decimal PerOperation
    {
        get
        {
            if (_perOperation.Count == 0)
                return 0.000m;
            Span<decimal> steps = CollectionsMarshal.AsSpan(_perOperation);
            steps.Sort();
            return steps[steps.Length / 2];
        }
    }

    /// <summary>Of an even number the upper one is the median.</summary>
    /// <param name="bytes">What was allocated in the step.</param>
    /// <param name="operations">The operations in it; a step without any says nothing.</param>
    internal void Add(long bytes, long operations)
    {
        if (operations > 0)
            _perOperation.Add(Rounding.PerOperation(bytes, operations));
    }
}

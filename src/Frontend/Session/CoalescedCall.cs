namespace Vhost.Frontend;

/// <summary>Something to be done on the thread pool: once at a time, and once more for all that asked for it meanwhile. Who asks without end gathers nothing.</summary>
/// <remarks>Any thread. What it throws goes where exceptions of tasks go that nobody awaits.</remarks>
internal sealed class CoalescedCall(Func<Task> call)
{
    private const int Idle = 0;
    private const int Runs = 1;
    private const int Asked = 2;

    private int _state;

    internal void Ask()
    {
        if (Interlocked.Exchange(ref _state, Asked) == Idle)
            _ = Task.Run(RunAsync);
    }

    private async Task RunAsync()
    {
        do
        {
            Interlocked.Exchange(ref _state, Runs);
            try
            {
                await call().ConfigureAwait(false);
            }
            catch (Exception e)
            {
                _ = Task.FromException(e);
            }
        }
        while (Interlocked.CompareExchange(ref _state, Idle, Runs) != Runs);
    }
}

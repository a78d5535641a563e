using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>Binding threads to processors.</summary>
internal static class ProcessorBinding
{
    /// <summary>Binds the calling thread, and with it every thread that it starts from now on.</summary>
    /// <exception cref="ToolException">This process may not use the processor.</exception>
    internal static void BindThread(int processor)
    {
        int errno = Libc.BindThreadToProcessor(processor);
        if (errno != 0)
            throw new ToolException($"--cpu {processor}: this process cannot run on that processor.", new LinuxException("sched_setaffinity", errno));
    }
}

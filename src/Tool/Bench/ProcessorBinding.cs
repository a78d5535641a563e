using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>Binding threads to processors.</summary>
internal static class ProcessorBinding
{
    /// <summary>Binds the calling thread, and with it every thread that it starts from now on.</summary>
    /// <exception cref="ToolException">This process may use none of the processors.</exception>
    internal static void BindThread(IReadOnlyList<int> processors)
    {
        int errno = Libc.BindThreadToProcessors([.. processors]);
        if (errno != 0)
            throw new ToolException($"--cpu {string.Join(',', processors)}: this process cannot run there.", new LinuxException("sched_setaffinity", errno));
    }
}

<?php

namespace App\Controller;

use App\Blog;
use App\Entity\Comment;
use App\Entity\Post;
use App\Form\CommentType;
use Doctrine\ORM\EntityManagerInterface;
use Symfony\Bundle\FrameworkBundle\Controller\AbstractController;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\Routing\Annotation\Route;

final class BlogController extends AbstractController
{
    public function __construct(private Blog $blog, private EntityManagerInterface $entities)
    {
    }

    #[Route('/', name: 'home', methods: ['GET'])]
    public function home(Request $request): Response
    {
        $page = max(1, $request->query->getInt('page', 1));
        $tag = $request->query->get('tag', '');
        $pages = $this->blog->pages($tag);
        if ($page > $pages) {
            throw $this->createNotFoundException("There are $pages pages.");
        }

        return $this->render('home.html.twig', [
            'posts' => $this->blog->posts($page, $tag),
            'counts' => $this->blog->commentCounts(),
            'tags' => $this->blog->tagNames(),
            'tag' => $tag,
            'page' => $page,
            'pages' => $pages,
        ]);
    }

    #[Route('/posts/{slug}', name: 'post', methods: ['GET', 'POST'])]
    public function post(Request $request, string $slug): Response
    {
        $post = $this->blog->post($slug) ?? throw $this->createNotFoundException('There is no such post.');
        $status = Response::HTTP_OK;
        $form = null;
        // Who is not logged in gets no form, and so no session.
        if ($request->isMethod('POST') || $this->getUser() !== null) {
            $this->denyAccessUnlessGranted('ROLE_USER');
            $form = $this->createForm(CommentType::class);
            $form->handleRequest($request);
            if ($form->isSubmitted() && $form->isValid()) {
                return $this->comment($post, $form->get('content')->getData());
            }
            $status = $form->isSubmitted() ? Response::HTTP_UNPROCESSABLE_ENTITY : $status;
        }

        return $this->render('post.html.twig', [
            'post' => $post,
            'comments' => $this->blog->comments($post),
            'form' => $form?->createView(),
        ], new Response(null, $status));
    }

    private function comment(Post $post, string $content): Response
    {
        $comment = new Comment($post, $this->getUser(), $content, new \DateTimeImmutable());
        $this->entities->persist($comment);
        $this->entities->flush();
        $address = $this->generateUrl('post', ['slug' => $post->getSlug(), '_fragment' => 'comment-'.$comment->getId()]);

        return $this->redirect($address, Response::HTTP_SEE_OTHER);
    }
}
